	  # indented comment

   FROM   scratch	
	LABEL   a=1   b="2  3"	 c='4'   
   RUN   echo    a   \

   # comment
	  b \
        
      c
ENV	x	y  z
EXPOSE	80		81
VOLUME /a	/b
CMD  [  "a" ,"b"  ]  
ENTRYPOINT	echo   hi
